"""Events about the service itself, as CloudEvents."""
