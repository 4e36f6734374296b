"""How runtimes that do not come with the package are installed. Nothing else in this toolkit downloads anything."""
