"""The LLM proposer, on Anthropic's Messages API."""
