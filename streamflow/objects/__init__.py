"""Object stores and folders, where bytes lie by the SHA-256 digest of their content."""
