"""What flows: text chunks, PCM, the protocol, the pipeline. Imports nothing here on purpose."""
