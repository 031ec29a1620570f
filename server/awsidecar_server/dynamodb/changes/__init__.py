"""The change feed: DynamoDB Streams as one stream that can be taken up again."""
