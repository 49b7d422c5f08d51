"""Parts that all panels are made of: base classes, background jobs, widgets, colors and events."""
