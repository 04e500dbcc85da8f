"""What a release job asks of documents and evidence that exist."""
