"""What makes a machine able to run it all: the engine, kind, the node image and the stacks' images.

Where a registry answers, images are pulled; elsewhere the same are built from package registries
(catalogue.toml, recipes/). Nothing here knows what a scenario is.
"""
