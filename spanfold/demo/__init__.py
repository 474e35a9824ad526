"""Demo traffic: thirty days of an invented company, sent through the stock OTLP exporter like any service's spans."""
