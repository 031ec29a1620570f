"""What is missing from the lists of a stream's shards, and for how long it may be."""

from __future__ import annotations

from awsidecar_server.dynamodb.changes.lineage import Lineage
from awsidecar_server.errors import HistoryLost

# How long AWS may take to list what belongs to the lineage.
PATIENCE_SECONDS = 30.0


class Gaps:
    """The shards that must come to be listed for one watch, each with the time since which it is missing."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        # Those that may be no more: who watches from the beginning wants what is kept.
        self.dispensable: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._since)

    def look(self, lineage: Lineage, now: float) -> list[str]:
        """Looks for gaps after a list that was asked for at `now`: a slow client looks at its lists late.

        Returns the shards that are to be read although their parents do not come; raises `HistoryLost` for those whose
        parents had to.
        """
        self._since = {one: self._since.get(one, now) for one in lineage.gaps()}
        orphans = lineage.orphans()
        # One that was listed late may have a parent that is no more.
        self.dispensable |= {one.parent_id for one in orphans if one.shard_id in self.dispensable and one.parent_id}
        lasting = {one for one, since in self._since.items() if now - since > PATIENCE_SECONDS}
        missed = lasting - self.dispensable
        if missed:
            raise HistoryLost(min(missed))
        return [one.shard_id for one in orphans if one.parent_id in lasting]
