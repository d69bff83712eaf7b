"""Many trainings on disk, by many workers."""
