"""What the report page and the board share: design, helpers in JavaScript, the plotting library."""
