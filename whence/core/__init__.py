"""The contracts and the engine: everything that knows neither a framework nor a method."""
