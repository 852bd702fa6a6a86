"""The use of this machine over time: GPU, processor, memory, heat and power, as far as they can be read."""

from core.monitor.reading import LABELS, Reading
from core.monitor.sampling import KEPT, Monitor, Sample, once
from core.monitor.system import engine_memory

__all__ = ["KEPT", "LABELS", "Monitor", "Reading", "Sample", "engine_memory", "once"]
