"""The name by which this student's numbers and bug are drawn: a new one for each variant of the question."""


def generate(data):
    data["params"]["student"] = f"variant {data['variant_seed']}"
