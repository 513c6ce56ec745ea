"""What a process tells of itself: log lines, traces, metrics, reports of errors."""
