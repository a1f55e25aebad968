// conformance_pretrained FROM TO [float|double]: reads the published model in the folder FROM and writes it
// to the folder TO; `pretrained.py` has Hugging Face write the first and read the second.

#include <exception>
#include <iostream>
#include <string>

#include <ring_attention/io/pretrained.hpp>

#include "support/named_parameters.hpp"

namespace {

namespace ra = ring_attention;

template <class T>
void copy(const std::string& from, const std::string& to) {
    const ra::TransformerOptions options = ra::pretrained_options(from);
    support::NamedParameters<T> model(options);
    ra::detail::load_published(model, options, from);
    ra::detail::write_published(model, options, to, ra::detail::config_of(options));
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc == 4 && argv[3] == std::string("double"))
        copy<double>(argv[1], argv[2]);
    else if (argc == 4 && argv[3] == std::string("float"))
        copy<float>(argv[1], argv[2]);
    else
        throw ra::Error("usage: conformance_pretrained FROM TO float|double");
    return 0;
} catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
}
