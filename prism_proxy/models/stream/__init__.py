"""Stream: partitioned logs of records, read by offset or shared by consumer groups."""
