"""Items as plain JSON: the mapping between `google.protobuf.Struct` and DynamoDB's values, and the calls that use it."""
