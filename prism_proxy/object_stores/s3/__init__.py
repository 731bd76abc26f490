"""S3 and what speaks its protocol: MinIO, SeaweedFS, Ceph."""
