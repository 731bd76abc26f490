"""The tables of topics, streams and queues, in the file beside the keys."""

TABLES = """
CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    dead_letter TEXT NOT NULL,
    max_receives INTEGER
);
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    due INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    receives INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    enqueued INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    headers BLOB NOT NULL,
    sum INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX message_ready ON message (queue, rank, id) WHERE due = 0;
CREATE INDEX message_due ON message (due) WHERE due > 0;
CREATE INDEX message_expires ON message (expires) WHERE expires > 0;
CREATE TABLE duplicate (
    place TEXT NOT NULL,
    id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (place, id)
) WITHOUT ROWID;
CREATE INDEX duplicate_until ON duplicate (until);
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    partitions INTEGER NOT NULL,
    max_age_ms INTEGER,
    max_bytes INTEGER,
    max_records INTEGER,
    UNIQUE (kind, name)
);
CREATE TABLE part (
    id INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    number INTEGER NOT NULL,
    first INTEGER NOT NULL,
    next INTEGER NOT NULL,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    UNIQUE (log, number)
);
CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    published INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    key BLOB NOT NULL,
    headers BLOB NOT NULL,
    sum INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX record_message ON record (message_id);
CREATE INDEX record_expires ON record (expires) WHERE expires > 0;
CREATE TABLE position (
    log INTEGER NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    next INTEGER NOT NULL,
    settled BLOB NOT NULL,
    PRIMARY KEY (log, name, number)
) WITHOUT ROWID;
"""
