"""The agent: model, loop, tools and limits."""
