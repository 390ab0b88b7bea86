"""From live state to versions in the model store and back."""
