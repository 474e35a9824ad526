-- One row a trace (sql/trace_rows.sql).
CREATE VIEW traces AS
{trace_rows}
