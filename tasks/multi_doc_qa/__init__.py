"""`multi_doc_qa`: a question and k documents, one of which answers it, at varied positions."""
