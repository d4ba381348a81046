"""Who turns a prompt into codes: torch or vLLM."""
