"""What a program tells about itself beside its work: log lines, samples of requests, traces.

`off_path` is the way out for all of them: a queue with an end and a thread. Import the modules
themselves: `exporting` brings OpenTelemetry along, which a program without traces does without.
"""
