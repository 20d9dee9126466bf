"""A trained model as a web service that clients of OpenAI's completions understand, with a page to type into."""
