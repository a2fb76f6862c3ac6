"""Anthropic's JSON. These modules are pure: they do no input or output."""
