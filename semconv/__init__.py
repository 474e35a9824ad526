"""What spans mean: attribute names, dialect tables, usage conventions, message parts, the stored schemas."""
