"""One table per dialect: how it is detected, and which key fills which field."""
