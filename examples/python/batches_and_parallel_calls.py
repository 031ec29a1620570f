"""Many items in one call, and many calls at once."""

import asyncio

from awsidecar import aio


async def main() -> None:
    async with aio.connect() as client:
        batch = await client.dynamodb.batch_get_item(
            RequestItems={"users": {"Keys": [{"id": "user-123"}, {"id": "user-124"}, {"id": "user-125"}]}}
        )
        print(len(batch["Responses"].get("users", [])), "of three users found")

        users, applications = await asyncio.gather(
            client.dynamodb.scan(TableName="users"),
            client.dynamodb.scan(TableName="applications"),
        )
        print(users["Count"], "users and", applications["Count"], "applications")


asyncio.run(main())
