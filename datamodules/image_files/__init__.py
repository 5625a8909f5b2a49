"""Pictures in files: found, decoded, cropped, and handed out as a datamodule."""
