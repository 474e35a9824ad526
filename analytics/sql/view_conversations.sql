-- One row a conversation (sql/conversation_rows.sql).
CREATE VIEW conversations AS
{conversation_rows}
