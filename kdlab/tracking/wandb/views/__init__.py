"""Views as code: the workspace and the report in which W&B shows a study. Made with wandb-workspaces (an extra)."""
