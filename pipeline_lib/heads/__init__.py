"""One head per label on one shared encoder."""
