"""Judge models: metrics with intervals, reports, champion against challenger."""
