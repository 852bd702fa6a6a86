"""Runs told to Weights & Biases, MLflow and TensorBoard, from runs.db alone: while they go on, or afterwards.

Three processes keep a tracker away from training. The engine executes the run and writes runs.db. A feeder (`feeding`)
reads runs.db, keeps the mark up to which was sent, and waits and tries again. A worker (`worker`) loads the tracker's
package and does what it is told; whatever becomes of it, the feeder sees a process that answered, or did not.
"""
