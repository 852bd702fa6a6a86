"""What executes runs: a queue, one thread for MLX, control, heartbeat, hosting."""
