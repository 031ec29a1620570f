"""A plausible request for every AWS operation of the contract, in an order in which each finds what it needs."""

from __future__ import annotations

from typing import Any

ACCOUNT = "000000000000"
TABLE = "every-operation"
ARN = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{TABLE}"
KINESIS = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/changes"
POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"'
    + ACCOUNT
    + '"},"Action":"dynamodb:GetItem","Resource":"*"}]}'
)


def _s(text: str) -> dict[str, str]:
    return {"S": text}


KEY = {"id": _s("1")}
_MEANING = {"L": [{"N": "0.6"}, {"N": "-0.8"}]}

_NEW_TABLE: dict[str, Any] = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
}

_VECTOR_INDEX: dict[str, Any] = {
    "IndexName": "by-meaning",
    "VectorAttribute": {"AttributeName": "meaning"},
    "Projection": {"ProjectionType": "KEYS_ONLY"},
    "Dimensions": 2,
    "DistanceFunction": "COSINE",
}

# What is learnt on the way: {placeholder: (operation, path in its reply)}
LEARNT: dict[str, tuple[str, tuple[Any, ...]]] = {
    "$backup": ("CreateBackup", ("BackupDetails", "BackupArn")),
    "$export": ("ExportTableToPointInTime", ("ExportDescription", "ExportArn")),
    "$import": ("ImportTable", ("ImportTableDescription", "ImportArn")),
    "$stream": ("ListStreams", ("Streams", 0, "StreamArn")),
    "$shard": ("DescribeStream", ("StreamDescription", "Shards", 0, "ShardId")),
    "$iterator": ("GetShardIterator", ("ShardIterator",)),
    "$bulk": ("StartBulkPutItems", ("BulkOperationDescription", "BulkOperationArn")),
}

REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("CreateTable", {"TableName": TABLE, **_NEW_TABLE, "VectorIndexes": [_VECTOR_INDEX]}),
    ("DescribeTable", {"TableName": TABLE}),
    (
        "UpdateTable",
        {
            "TableName": TABLE,
            "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        },
    ),
    ("ListTables", {"Limit": 10}),
    ("DescribeLimits", {}),
    ("DescribeEndpoints", {}),
    (
        "UpdateTimeToLive",
        {"TableName": TABLE, "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "expires"}},
    ),
    ("DescribeTimeToLive", {"TableName": TABLE}),
    ("PutItem", {"TableName": TABLE, "Item": {**KEY, "n": {"N": "1"}, "meaning": _MEANING}}),
    ("GetItem", {"TableName": TABLE, "Key": KEY, "ConsistentRead": True}),
    (
        "UpdateItem",
        {
            "TableName": TABLE,
            "Key": KEY,
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
            "ReturnValues": "ALL_NEW",
        },
    ),
    (
        "Query",
        {
            "TableName": TABLE,
            "KeyConditionExpression": "id = :id",
            "ExpressionAttributeValues": {":id": _s("1")},
        },
    ),
    ("Scan", {"TableName": TABLE, "Limit": 5}),
    ("BatchGetItem", {"RequestItems": {TABLE: {"Keys": [KEY, {"id": _s("2")}]}}}),
    ("BatchWriteItem", {"RequestItems": {TABLE: [{"PutRequest": {"Item": {"id": _s("3")}}}]}}),
    ("TransactGetItems", {"TransactItems": [{"Get": {"TableName": TABLE, "Key": KEY}}]}),
    (
        "TransactWriteItems",
        {"TransactItems": [{"Put": {"TableName": TABLE, "Item": {"id": _s("4")}}}], "ClientRequestToken": "once-4"},
    ),
    ("ExecuteStatement", {"Statement": f'SELECT * FROM "{TABLE}" WHERE id = ?', "Parameters": [_s("1")]}),
    (
        "BatchExecuteStatement",
        {"Statements": [{"Statement": f'SELECT * FROM "{TABLE}" WHERE id = ?', "Parameters": [_s("1")]}]},
    ),
    (
        "ExecuteTransaction",
        {"TransactStatements": [{"Statement": f"INSERT INTO \"{TABLE}\" VALUE {{'id': '5'}}"}]},
    ),
    (
        "SearchVectors",
        {"TableName": TABLE, "IndexName": "by-meaning", "SearchVector": _MEANING["L"], "TopK": 3},
    ),
    ("DeleteItem", {"TableName": TABLE, "Key": {"id": _s("3")}, "ReturnValues": "ALL_OLD"}),
    ("UpdateTableReplicaAutoScaling", {"TableName": TABLE}),
    ("DescribeTableReplicaAutoScaling", {"TableName": TABLE}),
    ("CreateBackup", {"TableName": TABLE, "BackupName": "nightly"}),
    ("DescribeBackup", {"BackupArn": "$backup"}),
    ("ListBackups", {}),
    ("RestoreTableFromBackup", {"TargetTableName": f"{TABLE}-restored", "BackupArn": "$backup"}),
    ("DeleteBackup", {"BackupArn": "$backup"}),
    (
        "UpdateContinuousBackups",
        {"TableName": TABLE, "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}},
    ),
    ("DescribeContinuousBackups", {"TableName": TABLE}),
    (
        "RestoreTableToPointInTime",
        {"SourceTableName": TABLE, "TargetTableName": f"{TABLE}-rewound", "UseLatestRestorableTime": True},
    ),
    ("ExportTableToPointInTime", {"TableArn": ARN, "S3Bucket": "exports"}),
    ("DescribeExport", {"ExportArn": "$export"}),
    ("ListExports", {}),
    (
        "ImportTable",
        {
            "S3BucketSource": {"S3Bucket": "exports"},
            "InputFormat": "DYNAMODB_JSON",
            "TableCreationParameters": {"TableName": f"{TABLE}-imported", **_NEW_TABLE},
        },
    ),
    ("DescribeImport", {"ImportArn": "$import"}),
    ("ListImports", {}),
    (
        "StartBulkPutItems",
        {
            "TableName": TABLE,
            "InputS3Configuration": {"S3Bucket": "exports", "InputFormat": "DYNAMODB_JSON"},
            "OutputS3Configuration": {"S3Bucket": "exports", "OutputType": "FAILED_ITEMS"},
        },
    ),
    ("DescribeBulkOperation", {"BulkOperationArn": "$bulk"}),
    ("ListBulkOperations", {}),
    ("CancelBulkOperation", {"BulkOperationArn": "$bulk"}),
    ("CreateGlobalTable", {"GlobalTableName": TABLE, "ReplicationGroup": [{"RegionName": "us-east-1"}]}),
    ("DescribeGlobalTable", {"GlobalTableName": TABLE}),
    ("UpdateGlobalTable", {"GlobalTableName": TABLE, "ReplicaUpdates": [{"Create": {"RegionName": "us-west-2"}}]}),
    ("ListGlobalTables", {}),
    ("DescribeGlobalTableSettings", {"GlobalTableName": TABLE}),
    ("UpdateGlobalTableSettings", {"GlobalTableName": TABLE, "GlobalTableBillingMode": "PAY_PER_REQUEST"}),
    ("EnableKinesisStreamingDestination", {"TableName": TABLE, "StreamArn": KINESIS}),
    ("DescribeKinesisStreamingDestination", {"TableName": TABLE}),
    (
        "UpdateKinesisStreamingDestination",
        {
            "TableName": TABLE,
            "StreamArn": KINESIS,
            "UpdateKinesisStreamingConfiguration": {"ApproximateCreationDateTimePrecision": "MILLISECOND"},
        },
    ),
    ("DisableKinesisStreamingDestination", {"TableName": TABLE, "StreamArn": KINESIS}),
    ("UpdateContributorInsights", {"TableName": TABLE, "ContributorInsightsAction": "ENABLE"}),
    ("DescribeContributorInsights", {"TableName": TABLE}),
    ("ListContributorInsights", {"TableName": TABLE}),
    ("TagResource", {"ResourceArn": ARN, "Tags": [{"Key": "stage", "Value": ""}]}),
    ("ListTagsOfResource", {"ResourceArn": ARN}),
    ("UntagResource", {"ResourceArn": ARN, "TagKeys": ["stage"]}),
    ("PutResourcePolicy", {"ResourceArn": ARN, "Policy": POLICY}),
    ("GetResourcePolicy", {"ResourceArn": ARN}),
    ("DeleteResourcePolicy", {"ResourceArn": ARN}),
    ("ListStreams", {"TableName": TABLE}),
    ("DescribeStream", {"StreamArn": "$stream"}),
    ("GetShardIterator", {"StreamArn": "$stream", "ShardId": "$shard", "ShardIteratorType": "TRIM_HORIZON"}),
    ("GetRecords", {"ShardIterator": "$iterator"}),
    ("DeleteTable", {"TableName": TABLE}),
]
