"""What flows: vocabulary, text chunking, PCM, the protocol, the pipeline. Imports nothing here on purpose."""
