"""What a fine-tuned model answers: segmentation, classification."""
