// Attention as the suites of others ask for it.
//
//     conformance_attention CALLS RESULTS
//
// CALLS is a safetensors file with the tensors n/query, n/key, n/value and perhaps n/bias and n/d_output of
// each call n, all F32 or all F64, and in its metadata under n the options in JSON, by the names of
// AttentionOptions. RESULTS has n/output and n/log_sum_exp, with d_output also n/d_query, n/d_key, n/d_value
// and n/d_bias; or in its metadata, under n, why the call was refused.

#include <array>
#include <cstddef>
#include <exception>
#include <iostream>
#include <list>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/core/tensor.hpp>
#include <ring_attention/io/safetensors.hpp>

namespace {

namespace ra = ring_attention;
using nlohmann::json;

/// Every member of the options that the call names. Throws for a name that there is not.
ra::AttentionOptions options_of(const json& given) {
    ra::AttentionOptions options;
    for (const auto& [name, value] : given.items())
        if (name == "causal")
            options.causal = value.get<bool>();
        else if (name == "num_chunks")
            options.num_chunks = value.get<ra::Index>();
        else if (name == "window")
            options.window = value.get<ra::Index>();
        else if (name == "prefix")
            options.prefix = value.get<ra::Index>();
        else if (name == "document_starts")
            options.document_starts = value.get<std::vector<ra::Index>>();
        else if (name == "lengths")
            options.lengths = value.get<std::vector<ra::Index>>();
        else if (name == "scale")
            options.scale = value.get<double>();
        else if (name == "softcap")
            options.softcap = value.get<double>();
        else if (name == "query_offset")
            options.query_offset = value.get<ra::Index>();
        else
            throw ra::Error("AttentionOptions has no " + name);
    return options;
}

/// The tensors of all calls, which stay where they are until they are written.
template <class T>
class Results {
  public:
    template <int rank>
    void add(const std::string& name, const ra::Tensor<T, rank>& tensor) {
        numbers_.emplace_back(tensor.data(), tensor.data() + tensor.size());
        const auto& shape = tensor.dimensions();
        tensors_.push_back(ra::named_tensor<T>(name, {shape.begin(), shape.end()}, numbers_.back().data()));
    }

    const std::vector<ra::NamedTensor>& tensors() const { return tensors_; }

  private:
    std::list<std::vector<T>> numbers_;
    std::vector<ra::NamedTensor> tensors_;
};

/// A tensor of the call, of size 0 if it has none of that name.
template <class T>
ra::Tensor<T, 4> tensor_of(const ra::SafetensorsFile& file, const std::string& name) {
    if (!file.contains(name)) return {};
    const auto& shape = file.shape(name);
    if (shape.size() != 4)
        throw ra::Error(name + " has shape " + ra::shape_text(shape) + ", expected four extents");
    ra::Tensor<T, 4> tensor(shape[0], shape[1], shape[2], shape[3]);
    const std::vector<T> numbers = file.read<T>(name);
    std::copy(numbers.begin(), numbers.end(), tensor.data());
    return tensor;
}

template <class T>
void answer(const ra::SafetensorsFile& file, const std::string& call, Results<T>& results) {
    const ra::AttentionOptions options = options_of(json::parse(file.metadata().at(call)));
    const auto tensor = [&](const char* name) { return tensor_of<T>(file, call + "/" + name); };
    const auto q = tensor("query"), k = tensor("key"), v = tensor("value");
    const auto bias = tensor("bias"), d_output = tensor("d_output");
    ra::AttentionTerms<T> terms;
    if (bias.size() > 0) terms.bias = &bias;

    const auto result = ra::attention(q, k, v, options, terms);
    if (d_output.size() > 0) {
        const auto gradient = ra::attention_backward(d_output, q, k, v, result, options, terms);
        if (bias.size() > 0) results.add(call + "/d_bias", gradient.bias);
        results.add(call + "/d_query", gradient.query);
        results.add(call + "/d_key", gradient.key);
        results.add(call + "/d_value", gradient.value);
    }
    results.add(call + "/output", result.output);
    results.add(call + "/log_sum_exp", result.log_sum_exp);
}

void answer_all(const std::string& calls_path, const std::string& results_path) {
    const ra::SafetensorsFile file(calls_path);
    Results<float> floats;
    Results<double> doubles;
    ra::Metadata refusals;
    for (const auto& named : file.metadata()) {
        const std::string& call = named.first;
        try {
            if (file.entry(call + "/query").dtype == "F64")
                answer(file, call, doubles);
            else
                answer(file, call, floats);
        } catch (const ra::Error& error) {
            refusals[call] = error.what();
        }
    }
    std::vector<ra::NamedTensor> tensors = floats.tensors();
    tensors.insert(tensors.end(), doubles.tensors().begin(), doubles.tensors().end());
    ra::write_safetensors(results_path, std::move(tensors), refusals);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::cerr << "Usage: conformance_attention CALLS RESULTS\n";
        return 2;
    }
    try {
        answer_all(argv[1], argv[2]);
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 2;
    }
}
