"""This server beside what people run today: the same model, requests and machine, in turns."""
