"""How the operations that answer in pages go on: what starts the next page, and where the items are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Paging:
    """The page members of one operation. `within` names the member of the reply that holds the other two."""

    start: str
    next: str
    items: str
    within: str = ""

    def items_of(self, page: Mapping[str, Any]) -> list[Any]:
        """Returns the items of a page."""
        found: list[Any] = self._holder(page).get(self.items, [])
        return found

    def following(self, parameters: Mapping[str, object], page: Mapping[str, Any]) -> dict[str, object] | None:
        """Returns the parameters of the next page, or None after the last one."""
        start = self._holder(page).get(self.next)
        if not start:
            return None
        if start == parameters.get(self.start):
            # Going on would read the same page for ever.
            raise RuntimeError(f"the page that follows would start where this one did ({self.start})")
        return {**parameters, self.start: start}

    def _holder(self, page: Mapping[str, Any]) -> Mapping[str, Any]:
        holder: Mapping[str, Any] = page.get(self.within, {}) if self.within else page
        return holder


PAGINGS: dict[str, Paging] = {
    "DescribeStream": Paging("ExclusiveStartShardId", "LastEvaluatedShardId", "Shards", within="StreamDescription"),
    "ExecuteStatement": Paging("NextToken", "NextToken", "Items"),
    "ListBackups": Paging("ExclusiveStartBackupArn", "LastEvaluatedBackupArn", "BackupSummaries"),
    "ListBulkOperations": Paging("NextToken", "NextToken", "BulkOperationsSummaryList"),
    "ListContributorInsights": Paging("NextToken", "NextToken", "ContributorInsightsSummaries"),
    "ListExports": Paging("NextToken", "NextToken", "ExportSummaries"),
    "ListGlobalTables": Paging("ExclusiveStartGlobalTableName", "LastEvaluatedGlobalTableName", "GlobalTables"),
    "ListImports": Paging("NextToken", "NextToken", "ImportSummaryList"),
    "ListStreams": Paging("ExclusiveStartStreamArn", "LastEvaluatedStreamArn", "Streams"),
    "ListTables": Paging("ExclusiveStartTableName", "LastEvaluatedTableName", "TableNames"),
    "ListTagsOfResource": Paging("NextToken", "NextToken", "Tags"),
    "Query": Paging("ExclusiveStartKey", "LastEvaluatedKey", "Items"),
    "Scan": Paging("ExclusiveStartKey", "LastEvaluatedKey", "Items"),
}
