"""Commands: thin, from words to configs to calls. With schema and hydra_plugins the only room that knows Hydra."""
