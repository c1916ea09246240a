package main

import (
	"encoding/base64"
	"fmt"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const testService = "ttrpc.test.v1.TestService"

// schema makes the messages of the test service. They are known at run time only, so that no
// generated Go code has to be kept in step with the .proto files.
type schema struct {
	files *protoregistry.Files
}

func loadSchema() (*schema, error) {
	encoded, err := base64.StdEncoding.DecodeString(os.Getenv("TTRPC_TEST_PROTOS"))
	if err != nil {
		return nil, fmt.Errorf("TTRPC_TEST_PROTOS: %w", err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(encoded, &set); err != nil {
		return nil, fmt.Errorf("TTRPC_TEST_PROTOS: %w", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("TTRPC_TEST_PROTOS: %w", err)
	}
	return &schema{files}, nil
}

// message is a dynamic message whose fields are set and read by name. A wrong name is a mistake in
// this program, and panics.
type message struct {
	dynamic *dynamicpb.Message
}

func (s *schema) test(name protoreflect.FullName) message {
	descriptor, err := s.files.FindDescriptorByName("ttrpc.test.v1." + name)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	return message{dynamicpb.NewMessage(descriptor.(protoreflect.MessageDescriptor))}
}

// ttrpc 1.1 encodes with gogo/protobuf, which takes any message that encodes itself.

func (m message) Reset()                      { proto.Reset(m.dynamic) }
func (m message) String() string              { return fmt.Sprint(m.dynamic) }
func (m message) ProtoMessage()               {}
func (m message) Marshal() ([]byte, error)    { return proto.Marshal(m.dynamic) }
func (m message) Unmarshal(data []byte) error { return proto.Unmarshal(data, m.dynamic) }

// raw is a message that is not decoded.
type raw []byte

func (r *raw) Reset()                      { *r = nil }
func (r *raw) String() string              { return fmt.Sprint([]byte(*r)) }
func (r *raw) ProtoMessage()               {}
func (r *raw) Marshal() ([]byte, error)    { return *r, nil }
func (r *raw) Unmarshal(data []byte) error { *r = append(raw(nil), data...); return nil }

func (m message) field(name protoreflect.Name) protoreflect.FieldDescriptor {
	field := m.dynamic.Descriptor().Fields().ByName(name)
	if field == nil {
		panic(fmt.Sprintf("%s has no field %s", m.dynamic.Descriptor().FullName(), name))
	}
	return field
}

func (m message) get(name protoreflect.Name) protoreflect.Value {
	return m.dynamic.Get(m.field(name))
}

func (m message) set(name protoreflect.Name, value interface{}) message {
	m.dynamic.Set(m.field(name), protoreflect.ValueOf(value))
	return m
}

func (m message) bytes(name protoreflect.Name) []byte { return m.get(name).Bytes() }
func (m message) text(name protoreflect.Name) string  { return m.get(name).String() }
func (m message) int(name protoreflect.Name) int64    { return m.get(name).Int() }

type pair struct{ key, value string }

// addPairs appends to a list of ttrpc.test.v1.Pair.
func (m message) addPairs(name protoreflect.Name, pairs []pair) message {
	list := m.dynamic.Mutable(m.field(name)).List()
	for _, each := range pairs {
		element := list.AppendMutable().Message()
		fields := element.Descriptor().Fields()
		element.Set(fields.ByName("key"), protoreflect.ValueOfString(each.key))
		element.Set(fields.ByName("value"), protoreflect.ValueOfString(each.value))
	}
	return m
}

func (m message) pairs(name protoreflect.Name) []pair {
	list := m.get(name).List()
	var pairs []pair
	for i := 0; i < list.Len(); i++ {
		element := list.Get(i).Message()
		fields := element.Descriptor().Fields()
		pairs = append(pairs, pair{
			element.Get(fields.ByName("key")).String(),
			element.Get(fields.ByName("value")).String(),
		})
	}
	return pairs
}
