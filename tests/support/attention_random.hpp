#pragma once

// Random combinations of everything that attention can be asked for, over small shapes. Nothing of the
// library.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "attention_features.hpp"
#include "attention_problem.hpp"
#include "attention_reference.hpp"
#include "inputs.hpp"

namespace support {

/// Random choices, the same for a seed on every machine.
class Choices : public inputs::Numbers {
  public:
    using Numbers::Numbers;

    bool one_in(std::uint64_t n) { return bits() % n == 0; }

    /// first ... last
    Index between(Index first, Index last) { return first + Index(bits() % std::uint64_t(last - first + 1)); }

    template <class X>
    X of(std::initializer_list<X> choices) {
        return choices.begin()[bits() % choices.size()];
    }
};

template <class T>
struct RandomAttention {
    oracle::AttentionProblem problem;
    oracle::AttentionNumbers<T> numbers;
    bool has_own_score = false;
    OwnScore own_score;
    Index num_chunks = 1;
    int layout = 0;  // contiguous, zigzag, striped
    std::set<Feature> features;

    /// Whatever the seed says, the case does not have the features `without`. piece > 0: it has few queries,
    /// and about one or two times so many keys.
    explicit RandomAttention(std::uint64_t seed, std::set<Feature> without = {}, Index piece = 0)
        : choose_(seed * 0x9E3779B97F4A7C15u + 7), without_(std::move(without)) {
        lengths(piece);
        heads();
        rules();
        fill();
        scores();
        if (choose_.one_in(3) && may_have(Feature::poison)) poison();
        list_features();
    }

    bool has(Feature feature) const { return features.count(feature) > 0; }

    /// The numbers in a wider type, or the same.
    template <class R>
    oracle::AttentionNumbers<R> widened() const {
        const auto wide = [](const std::vector<T>& narrow) {
            return std::vector<R>(narrow.begin(), narrow.end());
        };
        return {wide(numbers.query), wide(numbers.key),    wide(numbers.value), wide(numbers.d_output),
                wide(numbers.bias),  wide(numbers.slopes), wide(numbers.sinks)};
    }

    template <class R>
    oracle::ReferenceAttention<R> reference() const {
        return has_own_score ? oracle::reference_attention<R>(problem, widened<R>(), own_score)
                             : oracle::reference_attention<R>(problem, widened<R>());
    }

    std::string description() const {
        const auto& p = problem;
        std::ostringstream text;
        text << p.batch << " x " << p.heads << " (" << p.key_value_heads << ") x " << p.query_len << " ("
             << p.key_len << ") x " << p.head_dim << " (" << p.value_dim << "), " << num_chunks
             << " chunks, layout " << layout << ", causal " << p.causal << ", window " << p.window
             << ", prefix " << p.prefix << ", documents {";
        for (const Index start : p.document_starts) text << ' ' << start;
        text << " }, lengths {";
        for (const Index length : p.lengths) text << ' ' << length;
        text << " }, scale " << p.scale << ", softcap " << p.softcap << ", query_offset " << p.query_offset
             << ", bias " << (numbers.bias.empty() ? 0 : p.bias_batch) << " x "
             << (numbers.bias.empty() ? 0 : p.bias_heads) << ", slopes " << numbers.slopes.size()
             << ", sinks " << numbers.sinks.size() << ", own score " << has_own_score
             << (own_score.hides ? " that hides" : "") << ", wide " << has(Feature::wide) << ", poison "
             << has(Feature::poison);
        return text.str();
    }

  private:
    Choices choose_;
    std::set<Feature> without_;

    bool may_have(Feature feature) const { return without_.count(feature) == 0; }

    /// 1, 2 and primes; tiles of 16, 32 queries and of 104 to 112 keys, and one token less and more.
    Index length() {
        const Index kind = choose_.between(0, 99);
        if (kind < 60) return choose_.of<Index>({1, 1, 2, 3, 4, 5, 7, 8, 9, 11, 13});
        if (kind < 85) return choose_.of<Index>({15, 16, 17, 19, 23, 29, 31, 32, 33, 37});
        if (kind < 97) return choose_.of<Index>({41, 47, 53, 61, 63, 64, 65, 67});
        return choose_.of<Index>({97, 103, 104, 105, 111, 112, 113, 127, 129, 209, 211, 223, 225});
    }

    void lengths(Index piece) {
        auto& p = problem;
        p.key_len = p.query_len = length();
        if (choose_.one_in(2)) p.query_len = length();
        if (piece > 0) {
            p.query_len = choose_.of<Index>({1, 1, 1, 2, 3, 5, 8, 16});
            p.key_len = choose_.one_in(2) ? piece * choose_.between(1, 2) + choose_.between(-1, 1)
                                          : choose_.of<Index>({1, 4, 7, 61, 521, 769, 1021, 1531});
        }
        const Index difference = p.key_len - p.query_len;
        if (difference != 0 ? !choose_.one_in(3) : choose_.one_in(8))
            p.query_offset = choose_.one_in(2) ? difference : choose_.between(-3, p.key_len + 3);
        num_chunks = choose_.between(1, 7);
        layout = int(choose_.between(0, 2));
        if (!may_have(Feature::other_key_length)) p.query_len = p.key_len;
        if (!may_have(Feature::offset)) p.query_offset = 0;
        if (!may_have(Feature::chunks)) num_chunks = 1;
        if (layout > 0 && !may_have(layout == 1 ? Feature::zigzag : Feature::striped)) layout = 0;
    }

    void heads() {
        auto& p = problem;
        const Index pairs = p.query_len * p.key_len, most = std::max<Index>(1, 20000 / pairs);
        p.key_value_heads = std::min(most, choose_.of<Index>({1, 1, 2, 2, 3, 4}));
        p.heads = p.key_value_heads * std::min(most, choose_.of<Index>({1, 1, 2, 2, 3, 4, 8}));
        while (p.heads > 8) p.heads -= p.key_value_heads;
        p.batch = std::clamp<Index>(most / p.heads, 1, choose_.between(1, 3));
        const Index widest = pairs * p.heads * p.batch > 4000 ? 9 : 40;
        const auto width = [&] {
            return choose_.one_in(3) ? choose_.between(1, widest)
                                     : choose_.of<Index>({1, 2, 3, 4, 5, 7, 8, 9});
        };
        p.value_dim = p.head_dim = width();
        if (choose_.one_in(3)) p.value_dim = width();
        if (!may_have(Feature::grouped)) p.key_value_heads = p.heads;
        if (!may_have(Feature::other_value_width)) p.value_dim = p.head_dim;
    }

    void rules() {
        auto& p = problem;
        const Index longest = std::max(p.key_len, p.query_offset + p.query_len);
        p.causal = !choose_.one_in(3);
        if (choose_.one_in(3))
            p.window = choose_.one_in(3) ? choose_.of<Index>({1, 2, 3}) : choose_.between(1, longest + 1);
        if (choose_.one_in(4)) p.prefix = choose_.between(1, p.key_len + 1);
        if (choose_.one_in(3)) {
            std::set<Index> starts{0};
            for (Index more = choose_.between(0, 4); more > 0; --more) {
                const Index start = choose_.between(0, longest - 1);
                starts.insert(start);
                if (choose_.one_in(3) && start + 1 < longest)
                    starts.insert(start + 1);  // a document of one token
            }
            p.document_starts.assign(starts.begin(), starts.end());
        }
        if (choose_.one_in(3))
            for (Index b = 0; b < p.batch; ++b)
                p.lengths.push_back(choose_.one_in(4) ? choose_.of<Index>({0, 1, p.key_len})
                                                      : choose_.between(0, p.key_len));
        if (!may_have(Feature::causal)) p.causal = false;
        if (!may_have(Feature::window)) p.window = 0;
        if (!may_have(Feature::prefix)) p.prefix = 0;
        if (!may_have(Feature::documents)) p.document_starts.clear();
        if (!may_have(Feature::lengths)) p.lengths.clear();
    }

    void fill() {
        auto& p = problem;
        if (choose_.one_in(3)) p.scale = std::exp2(3 * choose_.uniform());
        if (!may_have(Feature::scale)) p.scale = 0;
        const double scale = p.scale != 0 ? p.scale : 1 / std::sqrt(double(p.head_dim));
        double spread = choose_.of<double>({1, 1, 1, 1, 10, 1000});
        if (!may_have(Feature::wide)) spread = std::min(spread, 10.0);
        if (spread > 10) features.insert(Feature::wide);
        const double deviation = std::sqrt(spread / scale / std::sqrt(double(p.head_dim)));
        const auto normal = [&](Index rows, Index width, double of) {
            std::vector<T> values(std::size_t(rows * width));
            for (T& value : values) value = T(of * choose_.normal());
            return values;
        };
        const Index queries = p.batch * p.heads * p.query_len, keys = p.batch * p.key_value_heads * p.key_len;
        numbers.query = normal(queries, p.head_dim, deviation);
        numbers.key = normal(keys, p.head_dim, deviation);
        numbers.value = normal(keys, p.value_dim, 1);
        numbers.d_output = normal(queries, p.value_dim, 1);
        if (choose_.one_in(12))  // all weights are equal
            std::fill(numbers.key.begin(), numbers.key.end(), numbers.key.front());
    }

    void scores() {
        auto& p = problem;
        if (choose_.one_in(4)) p.softcap = choose_.of<double>({0.5, 2, 30, 50});
        if (choose_.one_in(4))
            for (Index h = 0; h < p.heads; ++h)
                numbers.slopes.push_back(choose_.one_in(8)
                                             ? T(choose_.uniform())
                                             : T(std::exp2(-8.0 * double(h + 1) / double(p.heads))));
        if (choose_.one_in(4)) bias();
        has_own_score = choose_.one_in(5);
        own_score.hides = has_own_score && choose_.one_in(2);
        if (choose_.one_in(4))
            for (Index h = 0; h < p.heads; ++h)
                numbers.sinks.push_back(choose_.one_in(8) ? -std::numeric_limits<T>::infinity()
                                                          : T(3 * choose_.normal()));
        if (!may_have(Feature::softcap)) p.softcap = 0;
        if (!may_have(Feature::alibi)) numbers.slopes.clear();
        if (!may_have(Feature::bias)) numbers.bias.clear();
        if (!may_have(Feature::own_score)) has_own_score = own_score.hides = false;
        if (!may_have(Feature::sinks)) numbers.sinks.clear();
    }

    void bias() {
        auto& p = problem;
        p.bias_batch = choose_.one_in(2) ? p.batch : 1;
        p.bias_heads = choose_.one_in(2) ? p.heads : 1;
        const std::uint64_t hidden_one_in = choose_.of<std::uint64_t>({2, 5, 1000000});
        for (Index row = 0; row < p.bias_batch * p.bias_heads * p.query_len; ++row) {
            const bool blind = hidden_one_in < 1000 && choose_.one_in(9);
            for (Index j = 0; j < p.key_len; ++j)
                numbers.bias.push_back(blind || choose_.one_in(hidden_one_in)
                                           ? -std::numeric_limits<T>::infinity()
                                           : T(2 * choose_.normal()));
        }
    }

    /// NaN wherever the rules let nobody look.
    void poison() {
        const auto& p = problem;
        const T nan = std::numeric_limits<T>::quiet_NaN();
        for (Index b = 0; b < p.batch; ++b)
            for (Index j = 0; j < p.key_len; ++j) {
                bool seen = false;
                for (Index i = 0; i < p.query_len; ++i)
                    seen = seen || oracle::sees(b, p.query_offset + i, j, p);
                if (seen) continue;
                for (Index h = 0; h < p.key_value_heads; ++h) {
                    const Index row = (b * p.key_value_heads + h) * p.key_len + j;
                    std::fill_n(numbers.key.begin() + row * p.head_dim, p.head_dim, nan);
                    std::fill_n(numbers.value.begin() + row * p.value_dim, p.value_dim, nan);
                    features.insert(Feature::poison);
                }
            }
        for (std::size_t place = 0; place < numbers.bias.size(); ++place) {
            const Index j = Index(place) % p.key_len, i = Index(place) / p.key_len % p.query_len;
            bool seen = false;  // of an entry for all batch entries, by one of them
            for (Index b = 0; b < p.batch; ++b)
                if (p.bias_batch == 1 || b == Index(place) / (p.bias_heads * p.query_len * p.key_len))
                    seen = seen || oracle::sees(b, p.query_offset + i, j, p);
            if (seen) continue;
            numbers.bias[place] = nan;
            features.insert(Feature::poison);
        }
    }

    void list_features() {
        const auto& p = problem;
        const auto list = [&](Feature feature, bool has) {
            if (has) features.insert(feature);
        };
        list(Feature::causal, p.causal);
        list(Feature::other_key_length, p.key_len != p.query_len);
        list(Feature::offset, p.query_offset != 0);
        list(Feature::grouped, p.heads != p.key_value_heads);
        list(Feature::other_value_width, p.value_dim != p.head_dim);
        list(Feature::window, p.window > 0);
        list(Feature::prefix, p.prefix > 0);
        list(Feature::documents, p.document_starts.size() > 1);
        list(Feature::lengths, !p.lengths.empty());
        list(Feature::scale, p.scale != 0);
        list(Feature::softcap, p.softcap != 0);
        list(Feature::alibi, !numbers.slopes.empty());
        list(Feature::bias, !numbers.bias.empty());
        list(Feature::own_score, has_own_score);
        list(Feature::sinks, !numbers.sinks.empty());
        list(Feature::chunks, num_chunks > 1);
        list(Feature::zigzag, layout == 1);
        list(Feature::striped, layout == 2);
        for (Index b = 0; b < p.batch; ++b)
            for (Index i = 0; i < p.query_len; ++i) {
                bool blind = true;
                for (Index j = 0; j < p.key_len; ++j)
                    blind = blind && !oracle::sees(b, p.query_offset + i, j, p);
                list(Feature::blind_rows, blind);
            }
    }
};

}  // namespace support
