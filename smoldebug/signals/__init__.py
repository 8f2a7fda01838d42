"""Raw telemetry to small typed facts: log shapes, metric onsets, what changed, what is red."""
