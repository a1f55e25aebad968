#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <variant>
#include <vector>

#include <ring_attention/core/error.hpp>
#include <ring_attention/core/parameters.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/io/families.hpp>
#include <ring_attention/kernels/bfloat16.hpp>
#include <ring_attention/models/transformer_options.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// A published tensor, and the numbers of a model that it is: columns of a parameter [rows, all_columns].
template <class T>
struct PublishedPart {
    std::string name;  // without the family's prefix
    std::variant<T*, Bfloat16Like<T>*>
        numbers;  // of the parameter's first row and of the first of the columns
    Index rows, columns, all_columns;
    bool is_vector;  // published as [columns]
    bool turned;     // published as [columns, rows]

    std::vector<Index> shape() const {
        if (is_vector) return {columns};
        return turned ? std::vector<Index>{columns, rows} : std::vector<Index>{rows, columns};
    }
};

/// Under which it is written.
template <class T>
std::string published_name(const PublishedPart<T>& part, const FamilyTable& table) {
    const bool has_prefix = table.writes_prefix && part.name != head_name;
    return has_prefix ? std::string(table.prefix) + part.name : part.name;
}

/// The pattern's "#" filled with the number.
inline std::string filled(std::string_view pattern, int number) {
    const std::size_t place = pattern.find('#');
    if (place == std::string_view::npos) return std::string(pattern);
    return std::string(pattern.substr(0, place)) + std::to_string(number) +
           std::string(pattern.substr(place + 1));
}

/// The published tensors of each parameter of ours, by its name.
inline std::multimap<std::string, PublishedName, std::less<>> names_of_layers(
    std::span<const PublishedName> names, int num_layers) {
    std::multimap<std::string, PublishedName, std::less<>> found;
    for (const PublishedName& name : names)
        if (name.ours.find('#') == std::string_view::npos)
            found.emplace(name.ours, name);
        else
            for (int layer = 1; layer <= num_layers; ++layer) found.emplace(filled(name.ours, layer), name);
    return found;
}

/// The number of the layer in `ring_12_qkv.kernel`, from 0; 0 in a name without.
inline int layer_in(std::string_view name) {
    int layer = 0;
    if (!name.starts_with("ring_")) return 0;
    for (const char digit : name.substr(5)) {
        if (digit < '0' || digit > '9') break;
        layer = 10 * layer + (digit - '0');
    }
    return layer - 1;
}

/// Which columns they are of as many as there are of queries, keys and values.
inline IndexRange columns_of(Columns columns, const TransformerOptions& options, Index all) {
    const Index heads = options.num_heads,
                key_value_heads = options.key_value_heads > 0 ? options.key_value_heads : heads;
    const Index width = all / (heads + 2 * key_value_heads);
    switch (columns) {
        case Columns::queries:
            return {0, heads * width};
        case Columns::keys:
            return {heads * width, key_value_heads * width};
        case Columns::values:
            return {(heads + key_value_heads) * width, key_value_heads * width};
        case Columns::all:
            break;
    }
    return {0, all};
}

/// The published tensors that the parameters of a model (or of a gradient) are. Throws Error where the
/// family has no name for a parameter.
template <Visitable Model>
auto published_parts(Model& model, const TransformerOptions& options, const FamilyTable& table) {
    using Number = typename std::remove_const_t<Model>::Scalar;
    using T = std::conditional_t<std::is_const_v<Model>, const Number, Number>;
    const auto own = names_of_layers(table.own_names, options.num_layers);
    const auto shared = names_of_layers(table.names, options.num_layers);
    std::vector<PublishedPart<T>> parts;
    for_each_parameter(model, [&](std::string_view name, auto& parameter) {
        using Parameter = std::remove_cvref_t<decltype(parameter)>;
        auto [from, to] = own.equal_range(name);
        if (from == to) std::tie(from, to) = shared.equal_range(name);
        if (from == to)
            throw Error("the model has a parameter " + std::string(name) + ", for which models of type " +
                        std::string(table.model_type) + " have no name");
        for (; from != to; ++from) {
            const PublishedName& published = from->second;
            const IndexRange columns = columns_of(published.columns, options, Index(parameter.cols()));
            parts.push_back({filled(published.published, layer_in(name)), parameter.data() + columns.first,
                             Index(parameter.rows()), columns.count, Index(parameter.cols()),
                             Parameter::RowsAtCompileTime == 1, published.turned});
        }
    });
    return parts;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
