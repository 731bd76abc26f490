"""Objects as files of a folder: durable, for one machine, or for several that mount the folder."""
