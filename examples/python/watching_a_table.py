"""Watches the changes of a table: begins, goes on with a checkpoint, as after a restart."""

import itertools

import awsidecar

TABLE = "watched"

with awsidecar.connect() as client:
    dynamodb = client.dynamodb
    dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )

    watch = dynamodb.watch_table(TABLE, max_records=1)
    watch.begin()  # what is written from now on will come
    for status in ("new", "paid", "sent"):
        dynamodb.put_item(TableName=TABLE, Item={"id": "order-1", "status": status})

    for change in itertools.islice(watch, 2):
        image = change["dynamodb"]["NewImage"]
        print(change["eventName"], image["id"], image["status"])

    # Behind the first change: the second was given, but whether it was dealt with is not known before the next.
    resumed = dynamodb.watch_table(TABLE, checkpoint=watch.checkpoint)
    print("again:", [change["dynamodb"]["NewImage"]["status"] for change in itertools.islice(resumed, 2)])

    dynamodb.delete_table(TableName=TABLE)
