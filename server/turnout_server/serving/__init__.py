"""What is loaded, and how it comes and goes: TensorFlow Serving's core on asyncio."""
