"""What the commands do; `eofs.cli` reads the command line and calls them."""
