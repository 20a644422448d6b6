"""The test methods, each as its source states it."""
